jest.retryTimes(2);
let tries = 0;
test('second try', () => {
  tries += 1;
  expect(tries).toBe(2);
});
test('never', () => {
  throw new Error('no paper');
});
