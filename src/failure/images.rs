//! Images of the store, and lists of them.

use std::error::Error;

use kiln_builder::catalog::CatalogError;

/// Returns what to do about an image that is not as it is wanted.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let hint = match error.downcast_ref()? {
        CatalogError::ListExists { .. } => "`kiln manifest create --amend` adds to it",
        CatalogError::NoList { is_image: false, .. } => "`kiln manifest create` makes one",
        CatalogError::NotInList { .. } => "`kiln manifest inspect` shows what is in a list",
        _ => return None,
    };
    Some(hint.to_owned())
}
