const assert = require('node:assert');
const { Given, Then } = require('@cucumber/cucumber');

let tries = 0;
Given('the till', function () {
  this.log('a till');
});
Then('it opens', () => {});
Then('it takes {int}', (coin) => assert.strictEqual(coin, 1));
Then('it opens on the second try', () => {
  tries += 1;
  assert.strictEqual(tries, 2);
});
Then('it rains', () => 'skipped');
