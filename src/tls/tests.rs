use std::path::PathBuf;

use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair};

use super::*;
use crate::config::access::ClientCa;

/// A folder with a certificate, its key and a list of authorities.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let (certificate, key) = pair("gateway", 2040);
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", &key);
        folder.write("clients.pem", &authority());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn config(&self) -> TlsConfig {
        TlsConfig {
            cert_file: self.path("tls.crt"),
            key_file: self.path("tls.key"),
            clients: Some(ClientCa { ca_file: self.path("clients.pem"), required: true }),
        }
    }
}

/// A certificate and its key, both PEM, with the year when the certificate ends.
fn pair(name: &str, ends: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.not_after = rcgen::date_time_ymd(ends, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn authority() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap().pem()
}

fn year_of_end(tls: &Tls) -> i32 {
    tls.ends().year()
}

/// Looks as often as it takes to believe a change.
fn look(tls: &Tls) {
    tls.look();
    tls.look();
}

#[test]
fn a_pair_counts_when_both_halves_are_there() {
    let folder = Folder::new();
    let tls = Tls::new(&folder.config(), false, Clock::system()).unwrap();
    let (certificate, key) = pair("gateway", 2041);
    folder.write("tls.crt", &certificate);
    look(&tls);
    assert_eq!(year_of_end(&tls), 2040, "the new certificate has no key yet");
    folder.write("tls.key", &key);
    look(&tls);
    assert_eq!(year_of_end(&tls), 2041);
}

#[test]
fn what_is_no_good_leaves_the_last_pair_in_force() {
    let folder = Folder::new();
    let tls = Tls::new(&folder.config(), false, Clock::system()).unwrap();
    let good = folder.config();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (certificate, key, clients) =
        (read(&good.cert_file), read(&good.key_file), read(&good.clients.unwrap().ca_file));
    let (ended, ended_key) = pair("gateway", 2020);
    let half: String = certificate.chars().take(certificate.len() / 2).collect();
    for (certificate, key, clients) in [
        ("", key.as_str(), clients.as_str()),
        (&half, &key, &clients),
        (&certificate, &pair("other", 2042).1, &clients),
        (&certificate, "no key", &clients),
        (&certificate, &key, ""),
        (&certificate, &key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        (&ended, &ended_key, &clients),
    ] {
        folder.write("tls.crt", certificate);
        folder.write("tls.key", key);
        folder.write("clients.pem", clients);
        look(&tls);
        assert_eq!(year_of_end(&tls), 2040);
    }
}

#[test]
fn a_start_with_files_that_do_not_fit_names_them_and_no_secret() {
    let folder = Folder::new();
    let key = std::fs::read_to_string(folder.path("tls.key")).unwrap();
    folder.write("tls.key", &key.replace("PRIVATE", "PUBLIC"));
    let error = Tls::new(&folder.config(), false, Clock::system()).unwrap_err().to_string();
    assert!(error.contains("tls.key") && error.contains("no private key"), "{error}");
    let secret = key.lines().nth(1).unwrap();
    assert!(!error.contains(secret));

    folder.write("tls.key", &pair("other", 2040).1);
    let error = Tls::new(&folder.config(), false, Clock::system()).unwrap_err().to_string();
    assert!(error.contains("make no pair"), "{error}");
    std::fs::remove_file(folder.path("tls.crt")).unwrap();
    let error = Tls::new(&folder.config(), false, Clock::system()).unwrap_err().to_string();
    assert!(error.contains("tls.crt"), "{error}");
}

#[test]
fn a_folder_that_is_swapped_as_a_whole_is_seen() {
    let folder = Folder::new();
    let at = |version: &str, name: &str| folder.path(version).join(name);
    for (version, ends) in [("one", 2041), ("two", 2042)] {
        std::fs::create_dir(folder.path(version)).unwrap();
        let (certificate, key) = pair("gateway", ends);
        std::fs::write(at(version, "tls.crt"), certificate).unwrap();
        std::fs::write(at(version, "tls.key"), key).unwrap();
    }
    std::os::unix::fs::symlink("one", folder.path("..data")).unwrap();
    let config =
        TlsConfig { cert_file: at("..data", "tls.crt"), key_file: at("..data", "tls.key"), clients: None };
    let tls = Tls::new(&config, false, Clock::system()).unwrap();
    assert_eq!(year_of_end(&tls), 2041);
    std::os::unix::fs::symlink("two", folder.path("..next")).unwrap();
    std::fs::rename(folder.path("..next"), folder.path("..data")).unwrap();
    look(&tls);
    assert_eq!(year_of_end(&tls), 2042);
}
