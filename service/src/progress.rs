//! How far something long has come, for who looks at a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner needs no bar.
const SOON: Duration = Duration::from_millis(400);

/// A bar on stderr, if that is a terminal. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    /// `doing` is what is done, as in `reading keys`.
    pub(crate) fn new(doing: &'static str) -> Self {
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style.expect("a valid template").progress_chars("=> "));
        bar.set_message(doing);
        Self { bar, begun: Instant::now() }
    }

    /// So many of so many are done.
    pub(crate) fn at(&self, done: usize, total: usize) {
        if self.bar.is_hidden() && self.begun.elapsed() > SOON {
            // Stays hidden unless it is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
