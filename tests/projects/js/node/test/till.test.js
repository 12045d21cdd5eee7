const assert = require('node:assert');
const { describe, it, test, before } = require('node:test');

test('opens', () => console.log('drawer opens'));
test('gives change', () => assert.deepStrictEqual({ coins: 3 }, { coins: 4 }));
test('prints', { skip: 'no paper' }, () => {});
test('weighs', { todo: true }, () => assert.fail('no scales'));
describe('drawer', () => {
  before(() => new Promise((resolve) => setTimeout(resolve, 200)));
  it('closes', () => {});
  it('locks', () => assert.ok(false));
});
test('parent', async (t) => {
  await t.test('child', () => {});
});
