//! Reading log queries page by page.

use std::time::Duration;

use crate::reading_loki::{Fault, ReadingLoki};
use testwire::event::Timestamp;
use testwire::loki::push::{Client, Transport};
use testwire::loki::query::{QueryError, Row};

async fn read(loki: &ReadingLoki, start: i64, end: i64) -> Result<Vec<Row>, QueryError> {
    let client = Client::new(&Transport { tenant: Some("shop".into()), ..Transport::new(&loki.url) }).unwrap();
    let mut rows = Vec::new();
    let timeout = Duration::from_secs(20);
    client.query_range("{}", Timestamp(start), Timestamp(end), timeout, |row| rows.push(row)).await?;
    Ok(rows)
}

fn numbers(rows: &[Row]) -> Vec<usize> {
    let mut numbers: Vec<usize> = rows.iter().map(|row| row.line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn entries_of_one_time_at_the_border_of_pages_come_each_once_over_all_streams() {
    let loki = ReadingLoki::start(Fault::None, 5000).await;
    // 7 entries of each time, in three streams, so that no page of 5000 ends where a time does.
    for number in 0..12_345_usize {
        loki.insert(
            ["{a=\"1\"}", "{a=\"2\"}", "{a=\"3\"}"][number % 3],
            1000 + (number / 7) as i64,
            &number.to_string(),
        );
    }
    let rows = read(&loki, 0, i64::MAX).await.unwrap();
    assert!(numbers(&rows).into_iter().eq(0..12_345));
    assert!(rows.is_sorted_by_key(|row| row.time));
    assert_eq!(loki.seen().len(), 3);
    assert_eq!(loki.seen()[0].1["x-scope-orgid"], "shop");
}

#[tokio::test]
async fn the_end_of_the_range_is_not_part_of_it_and_a_page_that_is_exactly_full_ends_well() {
    let loki = ReadingLoki::start(Fault::None, 5000).await;
    for number in 0..5001 {
        loki.insert("{a=\"1\"}", number, &number.to_string());
    }
    assert_eq!(numbers(&read(&loki, 1, 5001).await.unwrap()), (1..5001).collect::<Vec<_>>());
    assert_eq!(read(&loki, 5, 5).await.unwrap(), []);
}

#[tokio::test]
async fn a_loki_that_allows_less_at_once_is_asked_for_less() {
    let loki = ReadingLoki::start(Fault::None, 1000).await;
    for number in 0..2500 {
        loki.insert("{a=\"1\"}", number / 2, &number.to_string());
    }
    assert!(numbers(&read(&loki, 0, 9999).await.unwrap()).into_iter().eq(0..2500));
}

#[tokio::test]
async fn more_entries_of_one_time_than_a_page_holds_are_an_error_and_no_loss() {
    let loki = ReadingLoki::start(Fault::None, 5000).await;
    for number in 0..5000 {
        loki.insert("{a=\"1\"}", 77, &number.to_string());
    }
    let error = read(&loki, 0, 100).await.unwrap_err();
    assert!(matches!(error, QueryError::Crowded { time: Timestamp(77), limit: 5000 }), "{error}");
}

#[tokio::test]
async fn who_may_not_read_is_told_in_the_servers_words() {
    let loki = ReadingLoki::start(Fault::WriteOnly, 5000).await;
    let error = read(&loki, 0, 100).await.unwrap_err();
    assert!(error.is_about_auth());
    assert_eq!(error.to_string(), "Loki answered 403: no permission: logs:read");
}
