//! `[server] doors`: what is spoken on the gateway's port beside gRPC.

use super::value::clip;

/// What is spoken beside gRPC, and to which web pages. By default nothing, to nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DoorsConfig {
    /// `grpc-web`: gRPC for browsers.
    pub grpc_web: bool,
    /// `connect`: the Connect protocol, which is JSON over HTTP for whoever has nothing but curl.
    pub connect: bool,
    /// `cors_origins`: whose pages may call.
    pub origins: Origins,
}

/// The origins whose pages may call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origins {
    /// Only these, each as a browser sends it; none by default.
    Listed(Vec<String>),
    /// `*`: every page of the web.
    Any,
}

impl Default for Origins {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// The names of the doors, as the file has them.
const NAMES: [&str; 2] = ["grpc-web", "connect"];

impl DoorsConfig {
    /// Whether anything but gRPC is spoken.
    pub fn any_open(&self) -> bool {
        self.grpc_web || self.connect
    }

    /// The doors that are open, by their names.
    pub fn names(&self) -> Vec<&'static str> {
        let [grpc_web, connect] = NAMES;
        [(self.grpc_web, grpc_web), (self.connect, connect)]
            .into_iter()
            .filter_map(|(open, name)| open.then_some(name))
            .collect()
    }

    /// Opens the door of that name.
    pub(super) fn open(&mut self, name: &str) -> Result<(), String> {
        match NAMES.iter().position(|known| *known == name) {
            Some(0) => self.grpc_web = true,
            Some(_) => self.connect = true,
            None => return Err(format!("{:?} is not one of {NAMES:?}", clip(name))),
        }
        Ok(())
    }
}

impl Origins {
    /// Adds one as written: `https://host`, `http://host:port`, or `*` for all.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "*" {
            *self = Self::Any;
            return Ok(());
        }
        let origin = origin(text)?;
        if let Self::Listed(listed) = self {
            listed.push(origin);
        }
        Ok(())
    }

    /// As the file would have them.
    pub fn spelled(&self) -> Vec<String> {
        match self {
            Self::Listed(listed) => listed.clone(),
            Self::Any => vec!["*".to_owned()],
        }
    }
}

/// Takes only what a browser would send: anything else would never match, and nobody would know why.
fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Err(format!(
            "{:?} is not an origin such as \"https://app.example.com\", or \"*\"",
            clip(text)
        ));
    };
    if host.contains(['/', '?', '#', '@', '*']) || host.parse::<http::uri::Authority>().is_err() {
        return Err("must be a scheme, a host and perhaps a port, with nothing after them".to_owned());
    }
    let default_port = if text.starts_with("https") { ":443" } else { ":80" };
    if host.ends_with(default_port) {
        return Err(format!("browsers leave out the port {default_port}, so leave it out here too"));
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("must be in lower case, as browsers send it".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_and_nothing_else() {
        for good in ["https://app.example.com", "http://localhost:5173", "https://[::1]:8443"] {
            assert_eq!(origin(good).as_deref(), Ok(good));
        }
        for bad in [
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://App.example.com",
            "https://*.example.com",
            "https://me@app.example.com",
            "https://a b",
            "file://x",
            "null",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_all_however_it_is_listed() {
        let mut origins = Origins::default();
        for text in ["https://a.example", "*", "https://b.example"] {
            origins.add(text).unwrap();
        }
        assert_eq!(origins.spelled(), ["*"]);
    }
}
