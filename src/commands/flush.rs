//! `testwire flush`: delivers what ended or killed processes left.

use super::adopt::Adoption;
use super::pulse::Watched;
use super::shipping::limits;
use crate::config::Settings;
use crate::exit::{Exit, Failure};

/// Delivers it, and says how much.
///
/// # Errors
/// If the HTTP client cannot be made.
pub async fn flush(settings: &Settings) -> Result<Exit, Failure> {
    let done =
        Adoption::start(settings, &limits(settings).await, &Watched::default())?.finish(settings.drain_timeout).await;
    if done.queues == 0 {
        println!("nothing waits");
    } else {
        println!("{done}");
    }
    if done.waiting > 0 {
        println!("{} runs of a stopped `testwire listen` wait for its next start, or for their timeout", done.waiting);
    }
    Ok(match done {
        _ if done.left > 0 => Exit::Undelivered,
        _ if done.rejected > 0 => Exit::Rejected,
        _ => Exit::Ok,
    })
}
