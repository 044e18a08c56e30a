//! Config, lists and web config are read again: on SIGHUP, and when a feed file, the web config or a
//! file that it names has changed and is left alone; so has a config that was refused.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Result, anyhow, ensure};

use super::Daemon;
use super::compile::compile;
use crate::config::{Config, DEFAULT_PATH, Document};
use crate::feeds::Feeds;
use crate::state::{Reload, Watched};
use crate::watchlists::Watchlists;
use crate::web_config::Web;

/// So many looks at a file that is being written to are a failed reload.
const LOOKS_IN_VAIN_MAX: u32 = 12;

impl Daemon {
    /// Reads config, lists and web config again and watches what they say now; whatever is wrong with them
    /// leaves everything as it was. Interfaces, limits, pins and addresses are read at start only.
    pub fn reload(&mut self) {
        let read = self.read_and_compile();
        self.take_over(read);
    }

    fn take_over(&mut self, read: Result<(Watched, Web)>) {
        self.looks_in_vain = 0;
        match read {
            Ok((watched, web)) => {
                tracing::info!(targets = watched.slots.len(), secured_by = web.secured_by(), "reloaded");
                web.report();
                let before = self.state.web.get();
                if web.is_weaker_than(&before) {
                    let (before, now) = (before.secured_by(), web.secured_by());
                    tracing::warn!(
                        "http.web_config: HTTP was secured by {before}, and is by {now} from here on"
                    );
                }
                self.show_carried();
                self.state.watched.set(watched);
                self.state.web.set(web);
                self.show_heard();
                self.state.reload.set(Reload { successful: true, succeeded_at: SystemTime::now() });
            }
            Err(error) => {
                tracing::error!("reload failed, the old config stays: {error:#}");
                let before = *self.state.reload.get();
                self.state.reload.set(Reload { successful: false, ..before });
            }
        }
    }

    fn read_and_compile(&mut self) -> Result<(Watched, Web)> {
        // Until all is well: what is in use, what is refused, and the config, so that it is enough to mend one.
        self.feeds = self.feeds.again();
        self.feeds.add(self.config_path.as_deref().unwrap_or(Path::new(DEFAULT_PATH)));
        let config = Config::load(self.config_path.as_deref())?;
        ensure_there(&self.config.document, &config.document)?;
        // As they are before they are read: what changes meanwhile is a change.
        let feeds = Feeds::of(&config);
        feeds.paths().for_each(|path| self.feeds.add(path));
        let changed = self.config.read_at_start(&config);
        let config = Config { limits: self.state.limits.clone(), ..config };
        let web = Web::load(&config)?;
        ensure_not_opened(&config, &self.state.web.get(), &web)?;
        let lists = Watchlists::load(&config)?;
        feeds.ensure_unchanged()?;
        let watched = compile(&mut self.tables, &mut self.recognition, lists, &config)?;
        self.tables.inspect(config.inspect)?;
        for key in changed {
            tracing::warn!(key, "changed in the config; it takes effect at the next start");
        }
        self.feeds = feeds;
        self.config.document = config.document;
        Ok((watched, web))
    }

    /// Reloads when a file is not what it was, and no one is writing to it any more. One that
    /// is never left alone would keep all lists old, which must show.
    pub fn reload_changed_files(&mut self) {
        if !self.feeds.have_changed() {
            return;
        }
        let Some(path) = self.feeds.restless() else {
            tracing::info!("a feed file or one of the web config changed, or a config that was refused");
            return self.reload();
        };
        self.looks_in_vain += 1;
        if self.looks_in_vain == LOOKS_IN_VAIN_MAX {
            let error = anyhow!("{}: it is being written to all the time", path.display());
            self.take_over(Err(error));
        }
    }
}

/// A config that is gone, or says nothing any more, is a mistake rather than a wish for the defaults.
fn ensure_there(before: &Document, now: &Document) -> Result<()> {
    let path = before.path();
    ensure!(
        now.path() == path || path.as_os_str().is_empty(),
        "{}: it is gone; the defaults take its place at a start only",
        path.display()
    );
    ensure!(
        before.is_empty() || !now.is_empty(),
        "{}: it says nothing any more; that takes effect at a start only",
        path.display()
    );
    Ok(())
}

/// A config that was emptied, a web config that was found half written, must not let everybody in.
fn ensure_not_opened(config: &Config, before: &Web, now: &Web) -> Result<()> {
    if !now.opens(before) {
        return Ok(());
    }
    let (before, now) = (before.secured_by(), now.secured_by());
    let message = format!(
        "HTTP is secured by {before}, and would be by {now}: no reload opens it so far; if that is meant, a restart does"
    );
    Err(config.document.error_at_key("http.web_config", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_is_gone_or_was_emptied_is_no_wish_for_the_defaults() {
        let document = |path: &str, text: &str| {
            Config::parse(Path::new(path), text.to_owned()).expect("a config").document
        };
        let (full, empty) = (document("a.toml", "[http]\n"), document("a.toml", "# nothing\n\n"));
        let none = Document::default();
        for (before, now, is_there) in [
            (&full, &full, true),
            (&full, &empty, false),
            (&full, &none, false),
            (&empty, &full, true),
            (&empty, &empty, true),
            (&empty, &none, false),
            (&none, &none, true),
            (&none, &full, true),
        ] {
            assert_eq!(ensure_there(before, now).is_ok(), is_there, "{before:?} {now:?}");
        }
    }
}
