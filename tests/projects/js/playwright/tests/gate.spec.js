const { test, expect } = require('@playwright/test');

for (const n of [1, 2]) {
  test(`gate ${n}`, async ({}, info) => {
    console.log(`at ${info.project.name}`);
    expect(`${info.project.name} ${n}`).not.toBe('south 2');
  });
}
