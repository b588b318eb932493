//! Which steps must run, in which order, and the one loop that runs them.

mod driver;
mod scheduler;

pub use driver::{Solution, SolveError, solve};
pub use scheduler::{Action, Event, Scheduler};
