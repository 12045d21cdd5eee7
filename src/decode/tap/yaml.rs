//! The YAML block below a test point → what a failure says.
//!
//! Only the top level is read, as node:test, vitest, mocha and node-tap write it; a YAML library would refuse vitest's
//! blocks, whose quoted texts go over several lines as they are.

use std::time::Duration;

/// What a block says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) message: String,
    pub(super) duration: Option<Duration>,
    /// node:test: the point is a suite and no test.
    pub(super) suite: bool,
    /// node:test writes a duration with every point, and nobody else does so under that name with `type`.
    pub(super) has_duration: bool,
}

/// Reads the lines of a block, each with its end, without the marks.
pub(super) fn read(text: &str) -> Block {
    let mut block = Block::default();
    let base = text.lines().find(|line| !line.trim().is_empty()).map_or(0, leading);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let deep = leading(line);
        let Some((key, value)) = line.trim().split_once(':') else { continue };
        // vitest nests `message` one level below `error`.
        let wanted = matches!(key, "message" | "error" | "duration_ms" | "type");
        if !wanted || (deep != base && key != "message") || deep > base + 4 {
            continue;
        }
        let value = value.trim();
        match key {
            "duration_ms" => {
                block.duration = value.parse().ok().and_then(|ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok());
                block.has_duration = true;
            }
            "type" => block.suite = scalar(value, &mut lines, deep) == "suite",
            _ if block.message.is_empty() => block.message = scalar(value, &mut lines, deep),
            _ => {}
        }
    }
    block
}

fn leading(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// A value: plain, quoted (over several lines too) or a block of deeper lines.
fn scalar<'t>(value: &str, lines: &mut std::iter::Peekable<impl Iterator<Item = &'t str>>, deep: usize) -> String {
    if value.starts_with(['|', '>']) {
        return literal(lines, deep);
    }
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.strip_suffix('\'').unwrap_or(rest).replace("''", "'");
    }
    let Some(rest) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = rest.to_owned();
    while !closed(&text) {
        let Some(line) = lines.next() else { break };
        text.push('\n');
        text.push_str(line);
    }
    text.strip_suffix('"').unwrap_or(&text).replace("\\\"", "\"")
}

/// True if a text ends in a quote that no backslash escapes.
fn closed(text: &str) -> bool {
    let Some(before) = text.strip_suffix('"') else { return false };
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0
}

fn literal<'t>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'t str>>, deep: usize) -> String {
    let mut text = String::new();
    let mut own = None;
    while let Some(line) = lines.peek() {
        let at = leading(line);
        if !line.trim().is_empty() && at <= deep {
            break;
        }
        let own = *own.get_or_insert(at);
        text.push_str(line.get(own.min(at)..).unwrap_or_default());
        text.push('\n');
        lines.next();
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_node_mocha_and_vitest_are_read() {
        let node =
            "  duration_ms: 1.5\n  type: 'suite'\n  error: |-\n    one\n      two\n    \n    type: 'x'\n  code: 'E'\n";
        let block = read(node);
        assert_eq!(block.message, "one\n  two\n\ntype: 'x'");
        assert_eq!((block.duration, block.suite), (Some(Duration::from_micros(1_500)), true));
        assert_eq!(read("  error: 'it''s'\n").message, "it's");
        assert_eq!(read("  message: 'expected \"4\"'\n  data:\n    got: 5\n").message, "expected \"4\"");
        let vitest = "    error:\n        name: \"Error\"\n        message: \"a \\\"b\\\"\nc\"\n    at: \"x\"\n";
        assert_eq!(read(vitest).message, "a \"b\"\nc");
        assert_eq!(read("    message: |-\n      m\n    stack: |-\n      s\n").message, "m");
    }

    #[test]
    fn a_cut_block_is_read_as_far_as_it_goes() {
        assert_eq!(read("error: \"a").message, "a");
        assert_eq!(read("error: |-\n").message, "");
        assert_eq!(read(""), Block::default());
    }
}
