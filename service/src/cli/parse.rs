//! What the values of options are.

use std::time::Duration;

use shared_store::LeaseId;

/// A URL of etcd; the library checks the rest.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    const WRITE: &str = "write http://HOST:PORT, and a comma without spaces between two";
    let authority = text.split_once("://").map_or(text, |(_, authority)| authority);
    if text.is_empty() {
        Err(format!("it is empty, or there is a comma too many (look at SHARED_STORE_ENDPOINTS, too): {WRITE}"))
    } else if text.contains(char::is_whitespace) {
        Err(format!("there is a space in it: {WRITE}"))
    } else if authority.matches(':').count() > 1 && !authority.contains('[') {
        Err("an IPv6 address needs brackets: write http://[::1]:2379".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A lease in hex, as etcdctl prints it.
pub(super) fn lease(text: &str) -> Result<LeaseId, String> {
    if text == "none" {
        return Ok(LeaseId::NONE);
    }
    let id = u64::from_str_radix(text, 16).map_err(|_| "write the lease in hex, as owners prints it, or none")?;
    Ok(LeaseId(id.cast_signed()))
}

/// A level, or levels of parts of the program as `tracing` reads them.
pub(super) fn log(text: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    // Any word is a part of the program to `tracing`, all of which is logged then.
    let word = text.chars().all(char::is_alphanumeric) && !levels.contains(&text.to_lowercase().as_str());
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !word => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!("use {}, or part=level as in shared_store=debug", levels.join(", "))),
    }
}

/// `30s`, `5m`, `1h 30m`, `250ms`; a number alone is in seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}: write 30s, 5m, 2h or 250ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "s", "-1s", "1 parsec", "é", "1e999s", "nan"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_level_that_is_none_says_which_there_are() {
        for good in ["error", "DEBUG", "off", "shared_store=debug", "warn,h2=info"] {
            assert_eq!(log(good), Ok(good.to_owned()));
        }
        for bad in ["loud", "", "3", "shared_store=loud"] {
            assert!(log(bad).is_err_and(|error| error.contains("warn")), "{bad}");
        }
    }

    #[test]
    fn a_lease_is_read_as_it_is_printed() {
        for id in [LeaseId(0x694d_9f3a_61c2_a01c), LeaseId(-1)] {
            assert_eq!(lease(&id.to_string()), Ok(id));
        }
        assert_eq!(lease("none"), Ok(LeaseId::NONE));
        assert!(lease("xyz").is_err());
    }
}
