const { test, expect } = require('@playwright/test');

test.skip('skipped', async () => {});
test('expected failure', async () => {
  test.fail();
  expect(1).toBe(2);
});
test('second try', { tag: '@fuel' }, async ({}, info) => {
  await test.step('tank', async () => {});
  expect(info.retry).toBe(1);
});
