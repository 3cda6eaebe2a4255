//! What the measurements of foliocopy share.
