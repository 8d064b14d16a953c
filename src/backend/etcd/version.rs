//! What depends on the version of a member.

/// Whether a member of this version answers a request for the progress of a watch only after all earlier events. Older ones
/// answer too early (etcd #15220), or their watches can lose events that the answer covers (#17529). Kubernetes draws
/// the same line for its consistent reads from a cache (KEP-2340).
pub(super) fn answers_progress(version: &str) -> bool {
    let numbers: Result<Vec<u32>, _> =
        version.split('-').next().unwrap_or_default().split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([3, 4, patch]) => *patch >= 31,
        Ok([3, 5, patch]) => *patch >= 13,
        Ok([major, minor, _]) => (*major, *minor) >= (3, 6),
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_without_the_faults_are_asked_for_progress() {
        for good in ["3.4.31", "3.4.40", "3.5.13", "3.5.21", "3.6.0", "3.6.0-rc.1", "3.7.0", "4.0.0"] {
            assert!(answers_progress(good), "{good}");
        }
        for bad in ["3.4.30", "3.5.12", "3.5.1", "3.4.23", "3.3.27", "2.3.8", "", "new", "3.6", "3.5.13.1"] {
            assert!(!answers_progress(bad), "{bad}");
        }
    }
}
