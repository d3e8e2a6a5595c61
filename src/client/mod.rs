//! A blocking client library.
