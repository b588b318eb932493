//! Which steps must run, in which order, and the one loop that runs them.

mod driver;
mod keys;
mod lookups;
mod scheduler;

mod foreign;

pub use driver::{Solution, SolveError, solve};
pub use keys::{Keys, definition_keys};
pub use scheduler::{Action, Event, Scheduler};
