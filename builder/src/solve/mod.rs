//! Which steps must run, in which order, and the one loop that runs them.

mod driver;
mod keys;
mod scheduler;

mod foreign;

pub use driver::{Solution, SolveError, given, solve};
pub use keys::{Keys, definition_keys};
pub use scheduler::{Action, Event, Scheduler};
