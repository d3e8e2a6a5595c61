//! Printing that survives a reader who has seen enough: `chronon-sim ... | head` ends quietly.
//!
//! The macros here take the place of the standard ones in every command: those panic when the reader is gone.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Prints a line on standard output.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::cli::print::line(&mut std::io::stdout(), format_args!($($text)*))
    };
}

/// Prints a line on standard error.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::cli::print::line(&mut std::io::stderr(), format_args!($($text)*))
    };
}

/// Writes a line; the process ends when nobody reads it.
pub(super) fn line(to: &mut impl Write, text: fmt::Arguments<'_>) {
    end_unless(to.write_fmt(format_args!("{text}\n")));
}

/// Ends the process when what was printed did not arrive: quietly when the reader is gone.
pub(super) fn end_unless(printed: io::Result<()>) {
    let Err(error) = printed else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(READER_GONE);
    }
    // Standard error may be what cannot be written: there is nobody left to tell.
    drop(writeln!(io::stderr(), "chronon-sim: the output cannot be written: {error}"));
    std::process::exit(i32::from(crate::run::WRONG_USAGE));
}

/// What a shell reports for a command that ends because its reader is gone.
const READER_GONE: i32 = 141;
