//! Which versions of etcd have faults that a store meets.

/// What is wrong with a version, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Good,
    /// A fault that stores survive.
    Fault(&'static str),
    TooOld,
    Unreadable,
}

pub(super) fn known(version: &str) -> Known {
    let numbers: Result<Vec<u32>, _> =
        version.split('-').next().unwrap_or_default().split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([major, minor, _]) if (*major, *minor) < (3, 4) => Known::TooOld,
        Ok([3, 5, 0..=2]) => Known::Fault("its data can differ between members after a crash (etcd issue 13766)"),
        Ok([3, 4, 0..=33] | [3, 5, 3..=15]) => {
            Known::Fault("a watch that resumes during a compaction can lose events (etcd issue 18089)")
        }
        Ok([_, _, _]) => Known::Good,
        Ok(_) | Err(_) => Known::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_known_by_version() {
        assert!(matches!(known("3.4.33"), Known::Fault(fault) if fault.contains("18089")));
        assert!(matches!(known("3.5.15"), Known::Fault(fault) if fault.contains("18089")));
        assert!(matches!(known("3.5.1"), Known::Fault(fault) if fault.contains("13766")));
        for good in ["3.4.34", "3.5.16", "3.6.0", "3.6.0-rc.1", "4.0.0"] {
            assert_eq!(known(good), Known::Good, "{good}");
        }
        assert_eq!((known("3.3.27"), known("new"), known("")), (Known::TooOld, Known::Unreadable, Known::Unreadable));
    }
}
