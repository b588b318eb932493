//! Large errors stand in boxes: every result has room for its error, so one large variant would make all calls dearer.

/// Lets `?` put errors into the variants that box them: `boxed!(CatalogError { Web: HttpError })`.
macro_rules! boxed {
    ($whole:ident { $($variant:ident: $part:ty),+ $(,)? }) => {$(
        impl From<$part> for $whole {
            fn from(error: $part) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )+};
}
pub(crate) use boxed;
