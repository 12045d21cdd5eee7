//! Tests that share a name: the second one of a name is `name (2)`.

use std::borrow::Cow;
use std::collections::HashMap;

/// Counts how often each name was used.
#[derive(Debug, Default)]
pub(crate) struct Occurrences(HashMap<String, u32, foldhash::fast::RandomState>);

impl Occurrences {
    /// The identity of one more test of this name.
    pub(crate) fn next<'n>(&mut self, name: &'n str) -> Cow<'n, str> {
        match self.0.get_mut(name) {
            Some(count) => {
                *count += 1;
                Cow::Owned(format!("{name} ({count})"))
            }
            None => {
                self.0.insert(name.to_owned(), 1);
                Cow::Borrowed(name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_again_is_numbered() {
        let mut names = Occurrences::default();
        let ids: Vec<_> = ["a", "b", "a", "a"].map(|name| names.next(name).into_owned()).into();
        assert_eq!(ids, ["a", "b", "a (2)", "a (3)"]);
    }
}
