//! Which steps must run, in which order, and the one loop that runs them.

mod ahead;
mod driver;
mod explaining;
mod lists;

mod foreign;
mod keys;
mod lookups;
mod recorder;
mod scheduler;

pub use ahead::{Ahead, Fate, Fetch, Forecast, look_ahead};
pub use driver::{Solution, SolveError, given, solve};
pub use keys::{Keys, definition_keys};
pub use scheduler::{Action, Event, Scheduler};
