//! The catalog and the exporters: archives, layouts, names, imports, a real registry, and what other tools make of them.

// Clippy takes helpers for parts of tests only where they are marked as such.
#[cfg(test)]
mod archives;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod names;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod support;
#[cfg(test)]
mod valid;
