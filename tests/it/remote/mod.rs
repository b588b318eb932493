//! Commands that look into images: `ls`, `cat`.

mod looking;
