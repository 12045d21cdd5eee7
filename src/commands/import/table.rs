//! The table at the end of an import.

use super::run::Row;

/// More rows than these are summed up.
const MAX_ROWS: usize = 200;

/// One line a file, under a line of headings, and a sum where there are several.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let heads = ["file", "format", "run", "tests", "passed", "failed", "errored", "skipped", "flaky", ""];
    let mut cells: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    let numbers = |row: &Row| {
        let c = &row.counters;
        let skipped = c.skipped + c.xfailed;
        [c.done() + c.unfinished, c.passed + c.xpassed, c.failed, c.errored, skipped, c.flaky]
    };
    for row in rows.iter().take(MAX_ROWS) {
        let mut line = vec![row.file.clone(), row.format.to_string(), row.run.clone()];
        line.extend(numbers(row).map(|n| n.to_string()));
        line.push(if row.error.is_some() { "damaged".into() } else { String::new() });
        cells.push(line);
    }
    if rows.len() > 1 {
        let sums = rows.iter().map(numbers).fold([0; 6], |mut sums, row| {
            sums.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
            sums
        });
        let mut line = vec![format!("{} files", rows.len()), String::new(), String::new()];
        line.extend(sums.map(|n| n.to_string()));
        line.push(String::new());
        cells.push(line);
    }
    let widths: Vec<usize> =
        (0..heads.len()).map(|i| cells.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    let render = |line: &Vec<String>| {
        let mut text = String::new();
        for (number, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Numbers to the right.
            let cell = if (3..9).contains(&number) { format!("{cell:>width$}") } else { format!("{cell:width$}") };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.trim_end().to_owned()
    };
    cells.iter().map(render).collect()
}
