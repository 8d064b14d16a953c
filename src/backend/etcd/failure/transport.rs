//! Errors of the connection: the chain of causes of an error that the client made.

use std::error::Error;

use super::{Failure, Kind};

impl Failure {
    /// Why there is no answer of etcd's.
    pub(in crate::backend::etcd) fn transport(message: &str, source: &(dyn Error + 'static)) -> Self {
        let causes = causes(message.to_owned(), Some(source));
        let said = |prefix: &str| causes.iter().find_map(|cause| cause.strip_prefix(prefix));
        // TLS comes first, so a request that fails in TLS was never sent.
        if let Some(why) = said("invalid peer certificate: ") {
            return Self::misconfigured(theirs(why)).never_sent();
        }
        if let Some(alert) = said("received fatal alert: ") {
            return Self::alert(alert);
        }
        if said("received corrupt message of type InvalidContentType").is_some() {
            return Self::misconfigured("it does not speak TLS: write http://").never_sent();
        }
        if said("tcp connect error").is_some() || said("dns error").is_some() {
            let innermost = causes.last().map_or(message, String::as_str);
            // Without the system's number: "connection refused".
            let words = innermost.split(" (os error").next().unwrap_or(innermost).to_lowercase();
            return Self::unreached(words);
        }
        if said("stream closed because of a broken pipe").is_some() {
            return Self { kind: Kind::Closed, ..Self::broken("the connection was closed") };
        }
        Self::broken(causes.join(": "))
    }

    /// Why the TLS of the other side refuses.
    fn alert(alert: &str) -> Self {
        match alert {
            "BadCertificate"
            | "CertificateRequired"
            | "CertificateExpired"
            | "CertificateRevoked"
            | "CertificateUnknown"
            | "UnsupportedCertificate"
            | "UnknownCA"
            | "AccessDenied" => Self::misconfigured(format_args!(
                "it refuses our certificate, or that there is none ({alert}): it wants one that has not expired and \
                 that its authority has signed"
            ))
            .never_sent(),
            "ProtocolVersion"
            | "HandshakeFailure"
            | "InsufficientSecurity"
            | "NoApplicationProtocol"
            | "UnrecognisedName" => Self::misconfigured(format_args!("TLS handshake failed ({alert})")).never_sent(),
            _ => Self::broken(format_args!("TLS was given up ({alert})")),
        }
    }
}

/// What is wrong with etcd's certificate, and what to do about it.
fn theirs(why: &str) -> String {
    match why {
        "UnknownIssuer" | "BadSignature" => {
            format!("its certificate is signed by no authority we know ({why}): is this the right CA file?")
        }
        _ if why.starts_with("certificate expired") => "its certificate has expired".to_owned(),
        _ if why.starts_with("certificate not valid yet") => {
            "its certificate is not valid yet: is the clock right?".to_owned()
        }
        _ => match why.strip_prefix("certificate not valid for name ") {
            Some(names) => format!("its certificate is not for the name {names}"),
            None => format!("its certificate is not good ({why})"),
        },
    }
}

/// An error and its sources, on one line.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> String {
    causes(error.to_string(), error.source()).join(": ")
}

/// From the outermost error to the innermost. Each layer of the client repeats the one below, or says nothing.
fn causes(message: String, mut source: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let mut causes = vec![message];
    while let Some(cause) = source {
        let words = cause.to_string();
        if words != "transport error" && !causes.iter().any(|known| known.contains(&words)) {
            causes.push(words);
        }
        source = cause.source();
    }
    if causes.len() > 1 {
        causes.retain(|cause| cause != "transport error");
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendError;

    /// An error made of the words of its layers, as the client's are.
    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    fn failure(layers: &[&'static str]) -> (Kind, String) {
        let layer = |below, words: &&'static str| Some(Box::new(Layer(words, below)));
        let source = layers.iter().rev().fold(None, layer).unwrap();
        let failure = Failure::transport(layers[0], &*source);
        (failure.kind, failure.into_error("e").to_string())
    }

    #[test]
    fn what_a_connection_says_is_told_in_words() {
        let table: [(&[&'static str], Kind, &str); 12] = [
            (
                &["transport error", "invalid peer certificate: UnknownIssuer"],
                Kind::Unreached,
                "etcd at e: its certificate is signed by no authority we know (UnknownIssuer): is this the right CA \
                 file?",
            ),
            (
                &["invalid peer certificate: certificate expired: verification time 2 (UNIX), but ..."],
                Kind::Unreached,
                "etcd at e: its certificate has expired",
            ),
            (
                &["invalid peer certificate: certificate not valid yet: verification time 2 (UNIX), but ..."],
                Kind::Unreached,
                "etcd at e: its certificate is not valid yet: is the clock right?",
            ),
            (
                &["invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b"],
                Kind::Unreached,
                "etcd at e: its certificate is not for the name \"a\"; certificate is only valid for b",
            ),
            (
                &["invalid peer certificate: BadEncoding"],
                Kind::Unreached,
                "etcd at e: its certificate is not good (BadEncoding)",
            ),
            (
                &["transport error", "received fatal alert: BadCertificate"],
                Kind::Unreached,
                "etcd at e: it refuses our certificate, or that there is none (BadCertificate): it wants one that has \
                 not expired and that its authority has signed",
            ),
            (
                &["received fatal alert: ProtocolVersion"],
                Kind::Unreached,
                "etcd at e: TLS handshake failed (ProtocolVersion)",
            ),
            (&["received fatal alert: InternalError"], Kind::Broken, "etcd at e: TLS was given up (InternalError)"),
            (
                &["transport error", "tcp connect error", "Connection refused (os error 111)"],
                Kind::Unreached,
                "cannot reach etcd at e: connection refused",
            ),
            (
                &["transport error", "h2 protocol error: error reading a body from connection"],
                Kind::Broken,
                "etcd at e: h2 protocol error: error reading a body from connection",
            ),
            (
                &["error reading a body from connection", "stream closed because of a broken pipe"],
                Kind::Closed,
                "etcd at e: the connection was closed",
            ),
            (&["transport error"], Kind::Broken, "etcd at e: transport error"),
        ];
        for (layers, kind, words) in table {
            assert_eq!(failure(layers), (kind, words.to_owned()), "{layers:?}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_cause_says_what_it_is() {
        let (kind, _) = failure(&["broken: \"invalid peer certificate: UnknownIssuer\"", "not a tcp connect error"]);
        assert_eq!(kind, Kind::Broken);
    }

    #[test]
    fn whom_tls_does_not_let_in_is_a_matter_of_configuration() {
        let source = Layer("invalid peer certificate: UnknownIssuer", None);
        let error = Failure::transport("transport error", &source).into_error("e");
        assert!(matches!(error, BackendError::Misconfigured { .. }), "{error:?}");
    }
}
