const { defineConfig } = require('@playwright/test');

module.exports = defineConfig({
  testDir: 'tests',
  workers: 1,
  retries: 1,
  reporter: [['list'], ['./own.js']],
  projects: [{ name: 'north' }, { name: 'south', testMatch: /gate/ }],
});
