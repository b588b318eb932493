//! Templates of `--format`.

use std::error::Error;

use kiln_frontend::suggest::nearest;
use kiln_template::{ExecuteError, Reason};

/// Returns the field that was meant, or all that there are.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let error: &ExecuteError = error.downcast_ref()?;
    let Reason::NoField { field, known, .. } = &error.reason else { return None };
    match nearest(field, known.iter().copied()) {
        Some(meant) => Some(format!("did you mean `.{meant}`?")),
        None if known.is_empty() => None,
        None => Some(format!("the fields are .{}", known.join(", ."))),
    }
}
