//! The API's description.

use utoipa::OpenApi;

use super::{dns, edge, fdb, nat, networks, ports, sandboxes, system};

#[derive(OpenApi)]
#[openapi(
    info(title = "pontoon", description = "The API of the pontoon daemon, on its unix socket."),
    paths(
        networks::list,
        networks::create,
        networks::get,
        networks::set,
        networks::remove,
        networks::inspect,
        networks::connect,
        networks::disconnect,
        networks::endpoints,
        networks::attach,
        networks::endpoint,
        networks::detach,
        sandboxes::add,
        sandboxes::remove,
        ports::interfaces,
        ports::add_interface,
        ports::remove_interface,
        ports::list,
        ports::get,
        ports::set,
        fdb::list,
        fdb::add,
        fdb::remove,
        fdb::flush,
        fdb::flush_network,
        edge::publications,
        edge::publish,
        edge::unpublish,
        edge::rules,
        edge::add_rule,
        edge::remove_rule,
        edge::flush_rules,
        edge::links,
        edge::add_link,
        edge::remove_link,
        nat::sessions,
        nat::flush,
        nat::stats,
        nat::uplinks,
        nat::trace,
        dns::stats,
        dns::names,
        dns::query,
        system::stats,
        system::events,
        system::info,
        system::up,
        system::down
    )
)]
struct Api;

/// The OpenAPI document of the API.
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
