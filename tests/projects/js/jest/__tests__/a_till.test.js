describe('till', () => {
  test('opens', () => {
    console.log('drawer opens');
  });
  test('gives change', () => {
    expect({ coins: 3 }).toEqual({ coins: 4 });
  });
  test.skip('prints', () => {});
  test.todo('weighs');
  test.each([1, 2])('takes %i', (n) => expect(n).toBeLessThan(2));
});
test('opens', () => {});
test('opens', () => {});
