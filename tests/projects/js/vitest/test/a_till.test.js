import { describe, expect, test } from 'vitest';

test('opens', () => {
  console.log('drawer opens');
});
test('gives change', () => {
  expect({ coins: 3 }).toEqual({ coins: 4 });
});
test.skip('prints', () => {});
test.todo('weighs');
test.fails('is known to fail', () => {
  expect(1).toBe(2);
});
describe('drawer', () => {
  test('closes', async () => {
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
});
let tries = 0;
test('second try', { retry: 2 }, () => {
  tries += 1;
  expect(tries).toBe(2);
});
test('never', { retry: 1 }, () => {
  throw new Error('no paper');
});
