//! The signals that kiln gets while a container's command runs are the command's, as with Docker's `--sig-proxy`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use kiln_builder::interrupt::Interrupt;
use kiln_sandbox::{CommandSignal, SignalLine};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::with_display;
use crate::failure::{Failure, Kind};
use crate::ui::{Display, is_hangup_ignored};

/// How many signals that ask kiln to end are the command's to answer; the next one ends it. Docker's client goes away with that one.
const ASKED_MAX: usize = 2;

/// Does `work`, which runs a command, to its end, and hands signals to that command meanwhile. Who asks it to end once too often
/// interrupts it.
pub(super) async fn hand_on<T>(
    line: &SignalLine,
    display: &Arc<Display>,
    interrupt: &Interrupt,
    mut work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::of(Kind::Machine, &error))?;
    let mut asked = 0;
    loop {
        let signal = tokio::select! {
            biased;
            result = work.as_mut() => return result,
            signal = signals.next() => signal,
        };
        asked += usize::from(matches!(signal, CommandSignal::Interrupt | CommandSignal::Terminate));
        if asked > ASKED_MAX {
            break;
        }
        line.send(signal);
    }
    interrupt.raise();
    with_display(display, interrupt, work).await
}

/// Those that are handed on.
struct Signals(Vec<(CommandSignal, Signal)>);

impl Signals {
    fn listen() -> io::Result<Self> {
        // With `nohup`, the command goes on without its terminal, too.
        let is_meant = |kind: &CommandSignal| *kind != CommandSignal::Hangup || !is_hangup_ignored();
        let listen = |kind: CommandSignal| Ok((kind, signal(SignalKind::from_raw(kind.number()))?));
        CommandSignal::ALL.into_iter().filter(is_meant).map(listen).collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> CommandSignal {
        poll_fn(|context| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}
