const { test } = require('node:test');

test('before', () => {});
test('kills its process', async () => {
  await new Promise((resolve) => setTimeout(resolve, 200));
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => {});
});
