//! The certificate of a service, and whose clients it trusts.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::setup::Failure;

/// The certificate of the service, and whose clients it trusts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Https {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
}

pub(super) fn tls(https: &Https) -> Result<ServerConfig, Failure> {
    let usage = |what: &std::path::Path, error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("https: {}: {error}", what.display()))
    };
    let open = |file: &std::path::Path| File::open(file).map(BufReader::new).map_err(|error| usage(file, &error));
    let certificates = |file: &std::path::Path| {
        let all = CertificateDer::pem_reader_iter(open(file)?).collect::<Result<Vec<_>, _>>();
        all.map_err(|error| usage(file, &error))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(Failure::promise)?;
    let builder = match &https.client_ca {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| usage(file, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| usage(file, &error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_reader(open(&https.key)?).map_err(|error| usage(&https.key, &error))?;
    builder.with_single_cert(certificates(&https.cert)?, key).map_err(|error| usage(&https.cert, &error))
}
