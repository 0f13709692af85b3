//! Networks as `docker network inspect` shows them.

use super::Manager;
use crate::api::types::{Attachment, ConfigFrom, Inspected, Ipam, IpamConfig};
use crate::choose::with_prefix;
use crate::error::Error;
use crate::state::{NetworkState, State};
use crate::store::Phase;

/// The fewest digits of an id that stand for it.
const SHORTEST_ID: usize = 4;

impl Manager {
    /// The network of that name, of that id, or of the only id that begins so.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn inspect(&self, name: &str) -> Result<Inspected, Error> {
        let state = self.state();
        named(&state, name).map(inspected)
    }
}

fn named<'a>(state: &'a State, name: &str) -> Result<&'a NetworkState, Error> {
    let begins = |it: &&NetworkState| name.len() >= SHORTEST_ID && it.record.id.to_string().starts_with(name);
    let mut by_id = state.networks.values().filter(begins);
    match (state.network(name), by_id.next(), by_id.next()) {
        (Ok(named), ..) => Ok(named),
        (_, Some(found), None) => Ok(found),
        (_, Some(one), Some(another)) => Err(Error::Conflict(format!(
            "the ids of the networks {} and {} both begin with {name}; give more digits",
            one.record.name, another.record.name
        ))),
        (missing, None, _) => missing,
    }
}

fn inspected(network: &NetworkState) -> Inspected {
    let record = network.record.clone();
    let attachment = |it: &crate::store::EndpointRecord| Attachment {
        name: it.name.clone(),
        endpoint_id: it.id,
        mac_address: it.mac,
        ipv4_address: with_prefix(record.subnet, it.address),
        ipv6_address: String::new(),
    };
    let told = network.endpoints.values().filter(|it| it.phase != Phase::Attaching);
    let config = IpamConfig {
        subnet: record.subnet,
        ip_range: record.range,
        gateway: record.gateway,
        auxiliary_addresses: record.reserved,
    };
    Inspected {
        name: record.name,
        id: record.id,
        created: record.created,
        scope: "local".to_owned(),
        driver: record.driver,
        enable_ipv6: false,
        ipam: Ipam { driver: "default".to_owned(), options: Default::default(), config: vec![config] },
        internal: record.connection.internal,
        attachable: record.attachable,
        ingress: false,
        config_from: ConfigFrom::default(),
        config_only: false,
        containers: told.map(|it| (it.sandbox_id, attachment(it))).collect(),
        options: record.options,
        labels: record.labels,
    }
}

#[cfg(test)]
mod tests {
    use crate::api::types::NetworkRequest;
    use crate::testing::{Lab, network};

    #[test]
    fn looks_as_dockers_does() {
        let lab = Lab::new(&["a"]);
        let request = NetworkRequest {
            ip_range: Some("10.1.0.128/25".parse().unwrap()),
            aux_addresses: [("nas".into(), [10, 1, 0, 130].into())].into(),
            labels: [("team".into(), "x".into())].into(),
            options: [("com.docker.network.bridge.enable_icc".into(), "true".into())].into(),
            ..network("red", "10.1.0.0/24")
        };
        let made = lab.manager.create_network(&request).unwrap();
        let endpoint =
            lab.attach("red", "a", "eth0").map(|_| lab.manager.endpoint("red", "a").unwrap()).unwrap();
        let text = serde_json::to_string_pretty(&lab.manager.inspect("red").unwrap()).unwrap();
        let (id, created, endpoint_id, sandbox) = (made.id, made.created, endpoint.id, endpoint.sandbox_id);
        let expected = format!(
            r#"{{
  "Name": "red",
  "Id": "{id}",
  "Created": "{created}",
  "Scope": "local",
  "Driver": "pontoon",
  "EnableIPv6": false,
  "IPAM": {{
    "Driver": "default",
    "Options": {{}},
    "Config": [
      {{
        "Subnet": "10.1.0.0/24",
        "IPRange": "10.1.0.128/25",
        "Gateway": "10.1.0.1",
        "AuxiliaryAddresses": {{
          "nas": "10.1.0.130"
        }}
      }}
    ]
  }},
  "Internal": false,
  "Attachable": false,
  "Ingress": false,
  "ConfigFrom": {{
    "Network": ""
  }},
  "ConfigOnly": false,
  "Containers": {{
    "{sandbox}": {{
      "Name": "a",
      "EndpointID": "{endpoint_id}",
      "MacAddress": "02:42:0a:01:00:80",
      "IPv4Address": "10.1.0.128/24",
      "IPv6Address": ""
    }}
  }},
  "Options": {{
    "com.docker.network.bridge.enable_icc": "true"
  }},
  "Labels": {{
    "team": "x"
  }}
}}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_there_is_left_out_where_docker_leaves_it_out() {
        let lab = Lab::new(&[]);
        lab.create("red", "10.1.0.0/24");
        let value = serde_json::to_value(lab.manager.inspect("red").unwrap()).unwrap();
        assert_eq!(
            value["IPAM"]["Config"][0],
            serde_json::json!({"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"})
        );
        for empty in ["Containers", "Options", "Labels"] {
            assert_eq!(value[empty], serde_json::json!({}), "{empty}");
        }
    }

    #[test]
    fn by_name_or_by_the_beginning_of_an_id() {
        let lab = Lab::new(&[]);
        lab.create("red", "10.1.0.0/24");
        let id = |digits: &str| Some(format!("{digits:0<64}").parse().unwrap());
        for (name, subnet, digits) in [("blue", "10.2.0.0/24", "abcd1"), ("abcd1", "10.3.0.0/24", "abcd2")] {
            let request = NetworkRequest { id: id(digits), ..network(name, subnet) };
            lab.manager.create_network(&request).unwrap();
        }
        let found =
            |name: &str| lab.manager.inspect(name).map(|it| it.name).map_err(|error| error.to_string());
        assert_eq!(found("red").unwrap(), "red");
        assert_eq!(found("abcd1").unwrap(), "abcd1", "a name comes before an id");
        assert_eq!(found("abcd10").unwrap(), "blue");
        assert_eq!(found(&format!("{:0<64}", "abcd2")).unwrap(), "abcd1");
        assert!(found("abcd").unwrap_err().contains("give more digits"));
        assert!(found("abc").unwrap_err().contains("there is no network abc"));
    }
}
