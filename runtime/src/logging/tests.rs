// SPDX-License-Identifier: Apache-2.0
use std::io::{self, Write};

use tracing::{debug, info, subscriber::with_default};

use super::*;

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

#[test]
fn a_changed_filter_is_in_force_at_once_and_told() {
    let (filter, layer) = LogFilter::new("info").unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let format = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    with_default(tracing_subscriber::registry().with(layer).with(format), || {
        let log = || {
            debug!(target: "kube", "detail");
            debug!("own detail");
            info!("news");
            lines.take()
        };
        let text = log();
        assert!(text.contains("news") && !text.contains("detail"), "{text}");
        filter.change(" info,kube=debug\n").unwrap();
        let text = lines.take();
        assert!(text.contains("from=\"info\" to=\"info,kube=debug\""), "{text}");
        let text = log();
        assert!(text.contains("kube: detail") && !text.contains("own detail"), "{text}");
        filter.change("off").unwrap();
        assert!(lines.take().contains("to=\"off\""));
        assert_eq!(log(), "");
        assert!(filter.change("inof").is_err());
        assert_eq!(filter.text(), "off");
    });
}

#[test]
fn what_is_no_filter_says_what_is_wrong() {
    for (text, expected) in [
        ("", "a log filter is needed"),
        (" \n", "a log filter is needed"),
        ("inof", "\"inof\" is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL"),
        ("info,kube", "\"kube\" is neither a level"),
        ("info,", "\"\" is neither a level"),
        ("info,kube=loud", "\"info,kube=loud\" is not a log filter: "),
    ] {
        let error = LogFilter::new(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error} instead of {expected}");
    }
    for text in ["off", "INFO", "info,kube=debug", "warn,hyper=off", "info,[span{field=1}]=trace"] {
        LogFilter::new(text).unwrap();
    }
}

#[test]
fn the_client_library_is_silent_unless_asked_for() {
    assert_eq!(effective("info"), "info,kube_client=off");
    assert_eq!(effective("info,kube_client=debug"), "info,kube_client=debug");
}
