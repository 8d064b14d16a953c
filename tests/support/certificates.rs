//! Certificates for tests: authorities, and what they sign, as files.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// For which names and until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Good now at 127.0.0.1.
    Good,
    /// No longer good.
    Expired,
    /// Good at another host.
    WrongName,
}

impl Authority {
    /// Makes an authority with this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a certificate for server and client at 127.0.0.1 in a directory.
    pub fn issue(&self, directory: &Path, name: &str, quality: Quality) -> Pair {
        let host = if quality == Quality::WrongName { "elsewhere.example" } else { "127.0.0.1" };
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if quality == Quality::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| directory.join(format!("{name}{end}"));
        let pair = Pair { certificate: file(".pem"), key: file(".key") };
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}
