//! How what a file of a batch says is taken, and kept in its log.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use super::output::OutputLog;
use crate::commands::run::gotext::{GoText, Style};
use crate::commands::run::inject::{Channel, Injection, wants_json};
use crate::commands::run::{follow, of_stdout};
use crate::decode::{Format, Zone, cargo_streams};
use crate::event;
use crate::pipeline::feed::{Feed, Handler, PassThrough};
use crate::source::Source;

/// The feeds of a file that runs as planned and writes to these pipes.
pub(super) fn feeds(
    plan: &Injection,
    argv: &[OsString],
    [out, err]: [OwnedFd; 2],
    log: &OutputLog,
    zone: &Zone,
) -> Vec<Feed> {
    let kept =
        |fd: OwnedFd, handler: Handler| Feed::new(Source::from_fd(fd), handler).with_tee(PassThrough(log.clone()));
    let plain_err = Handler::Plain(event::Source::Stderr);
    match plan.channel {
        Channel::File(format) => {
            vec![
                follow(&plan.events, format, zone),
                kept(out, Handler::Plain(event::Source::Stdout)),
                kept(err, plain_err),
            ]
        }
        Channel::Stdout(Format::GoTest) if !wants_json(argv) => {
            let text = GoText::new(Style::of(argv), log.clone(), log.clone());
            let out = Feed::new(Source::from_fd(out), Handler::decoder(Format::GoTest)).with_tee(text);
            vec![out, kept(err, plain_err)]
        }
        Channel::Stdout(format) => vec![kept(out, Handler::decoder(format)), kept(err, plain_err)],
        Channel::Shown(Some(Format::Cargo)) => {
            let [err_handler, out_handler] = cargo_streams().map(|decoder| Handler::Decode(Format::Cargo, decoder));
            vec![kept(err, err_handler), kept(out, out_handler)]
        }
        // Reports are not watched for, as files that run side by side would find each other's; a listener may tell all the same.
        Channel::Reports(format) => {
            vec![follow(&plan.events, format, zone), kept(out, of_stdout(plan.channel, zone)), kept(err, plain_err)]
        }
        Channel::Shown(_) | Channel::Watched => {
            vec![kept(out, of_stdout(plan.channel, zone)), kept(err, plain_err)]
        }
    }
}
