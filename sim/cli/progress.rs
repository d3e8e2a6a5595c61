//! How far a long command is: a bar on a terminal, a line now and then elsewhere. Both on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar, or lines.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Of `total` things that are called `what`; without end when there is no total.
    pub(super) fn new(what: &'static str, total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => {
                let template =
                    format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{msg}}, {{eta}} left");
                (ProgressBar::new(total), template)
            }
            None => (ProgressBar::new_spinner(), format!("{{spinner}} {{pos}} {what}, {{per_sec}}, {{msg}}")),
        };
        let bar = match ProgressStyle::with_template(&template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let now = Instant::now();
        Self { bar, what, total, done: 0, began: now, told: now }
    }

    /// One more is done; `how` it stands beside.
    pub(super) fn advance(&mut self, how: String) {
        self.done += 1;
        if self.bar.is_hidden() {
            if self.told.elapsed() >= BETWEEN_LINES {
                self.told = Instant::now();
                let rate = self.done as f64 / self.began.elapsed().as_secs_f64();
                let of = self.total.map_or_else(String::new, |total| format!("/{total}"));
                eprintln!("{}{of} {}, {rate:.1} a second, {how}", self.done, self.what);
            }
            return;
        }
        self.bar.set_message(how);
        self.bar.inc(1);
    }

    /// Prints while the bar is out of the way.
    pub(super) fn beside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

const BETWEEN_LINES: Duration = Duration::from_secs(10);
