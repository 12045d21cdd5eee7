// A reporter of the project's own: it must go on reporting.
module.exports = class {
  onEnd() {
    console.log('own reporter saw the end');
  }
};
