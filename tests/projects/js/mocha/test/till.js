const assert = require('node:assert');

describe('till', () => {
  it('opens', () => console.log('drawer opens'));
  it('gives change', () => assert.deepStrictEqual({ coins: 3 }, { coins: 4 }));
  it.skip('prints', () => {});
  it('weighs');
  it('same', () => {});
  it('same', () => assert.fail('second of its name'));
  let tries = 0;
  it('second try', function () {
    this.retries(2);
    tries += 1;
    assert.strictEqual(tries, 2);
  });
});
describe('printer', () => {
  before(() => {
    throw new Error('no paper');
  });
  it('never runs', () => {});
});
