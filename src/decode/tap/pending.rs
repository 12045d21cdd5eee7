//! A test point and the lines below it that belong to it.

use std::time::Duration;

use super::super::excerpt::Excerpt;
use super::BETWEEN;
use super::line::{self, Directive, Line, Point};
use super::yaml;

/// A point whose result is not told yet.
pub(super) struct Pending {
    pub(super) ok: bool,
    pub(super) name: String,
    pub(super) parents: String,
    pub(super) directive: Option<Directive>,
    reason: String,
    duration: Option<Duration>,
    pub(super) brace: bool,
    pub(super) brace_is_last: bool,
    pub(super) indent: usize,
    /// `# Subtest: name` stood before it.
    pub(super) announced: bool,
    /// Column of `---` while its block is open.
    yaml: Option<usize>,
    has_yaml: bool,
    body: Excerpt,
    text: String,
    pub(super) block: yaml::Block,
}

/// What a line is to the point above it.
pub(super) enum Body {
    /// Part of it.
    Taken,
    /// The last part of it.
    Complete,
    /// Something else.
    NotMine,
}

impl Pending {
    pub(super) fn new(point: &Point<'_>, indent: usize, parents: String) -> Self {
        let name = if point.name.is_empty() { "(no description)" } else { point.name.as_ref() };
        Self {
            ok: point.ok,
            name: name.to_owned(),
            parents,
            directive: point.directive,
            reason: point.reason.to_owned(),
            duration: point.duration,
            brace: point.brace,
            brace_is_last: point.brace_is_last,
            indent,
            announced: false,
            yaml: None,
            has_yaml: false,
            body: Excerpt::default(),
            text: String::new(),
            block: yaml::Block::default(),
        }
    }

    /// True if a line this deep is in the block that its brace opens.
    pub(super) fn opens(&self, indent: usize) -> bool {
        self.brace && indent == self.indent + 4
    }

    /// Names from the outside in.
    pub(super) fn path(&self) -> String {
        if self.parents.is_empty() { self.name.clone() } else { format!("{}{BETWEEN}{}", self.parents, self.name) }
    }

    pub(super) fn take_line(&mut self, text: &str, indent: usize, rest: &str) -> Body {
        if let Some(column) = self.yaml {
            if indent == column && rest.trim_end() == "..." {
                self.yaml = None;
                return Body::Complete;
            }
            self.body.push_line(text);
            return Body::Taken;
        }
        let parsed = line::parse(rest);
        if indent > self.indent && parsed == Line::YamlBegin && self.body.is_empty() {
            self.yaml = Some(indent);
            self.has_yaml = true;
            return Body::Taken;
        }
        let subtest =
            indent.is_multiple_of(4) && matches!(parsed, Line::Point(_) | Line::Plan { .. } | Line::Subtest(_));
        // Test::More: `#   Failed test 'x'`; mocha: the message, indented by two.
        let diagnostic = match parsed {
            Line::Comment(comment) => !self.ok && indent == self.indent && !comment.starts_with("Looks like"),
            Line::Subtest(_) | Line::BailOut(_) => false,
            _ => !self.ok && !self.announced && (indent > self.indent && !subtest || self.is_blank_within(rest)),
        };
        if !diagnostic {
            return Body::NotMine;
        }
        let line = match parsed {
            Line::Comment(comment) => comment,
            _ => text.get(self.indent.min(indent) + 2..).unwrap_or(rest),
        };
        self.body.push_line(line);
        Body::Taken
    }

    fn is_blank_within(&self, rest: &str) -> bool {
        rest.is_empty() && !self.body.is_empty()
    }

    /// No more lines come.
    pub(super) fn close(&mut self) {
        self.text = self.body.text();
        if self.has_yaml {
            self.block = yaml::read(&self.text);
        }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.duration.or(self.block.duration)
    }

    /// Why it failed or was skipped.
    pub(super) fn message(&self) -> String {
        if !self.reason.is_empty() {
            return self.reason.clone();
        }
        if !self.block.message.is_empty() || self.has_yaml {
            return self.block.message.clone();
        }
        let told = |line: &&str| !line.is_empty() && !line.starts_with("Failed ") && !line.starts_with("at ");
        let first = self.text.lines().map(str::trim).find(told);
        first.or_else(|| self.text.lines().map(str::trim).find(|line| !line.is_empty())).unwrap_or_default().to_owned()
    }

    /// All that was said below it, unless it passed.
    pub(super) fn details(&self) -> &str {
        if self.ok { "" } else { self.text.trim_end() }
    }
}
