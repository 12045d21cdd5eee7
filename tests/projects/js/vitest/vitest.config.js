import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { fileParallelism: false, reporters: ['verbose', { onTestRunEnd: (files) => console.log(`own reporter saw ${files.length} files`) }] },
});
