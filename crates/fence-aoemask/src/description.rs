//! The agent's metadata, in the shape of fence-agents' metadata.rng.

/// What `-o metadata` prints.
pub const METADATA: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_aoemask" shortdesc="Fence agent that takes a host's access to AoE targets away" >
<longdesc>fence_aoemask deletes the Ethernet addresses of a host from the mask lists of ATA over Ethernet targets and verifies that they are gone. The host can no longer read or write there; what runs on it goes on running. Use it beside a device that turns the host off, not instead of one.</longdesc>
<vendor-url></vendor-url>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]" />
		<content type="string" default="off"  />
		<shortdesc lang="en">Fencing action</shortdesc>
	</parameter>
	<parameter name="interface" unique="0" required="0">
		<getopt mixed="-i, --interface=[interface]" />
		<content type="string"  />
		<shortdesc lang="en">Network interfaces to the targets, separated by commas</shortdesc>
	</parameter>
	<parameter name="mac" unique="0" required="1">
		<getopt mixed="-m, --mac=[addresses]" />
		<content type="string"  />
		<shortdesc lang="en">The host's Ethernet addresses on the storage networks, separated by commas</shortdesc>
	</parameter>
	<parameter name="plug" unique="0" required="1" obsoletes="port">
		<getopt mixed="-n, --plug=[targets]" />
		<content type="string"  />
		<shortdesc lang="en">Targets as shelf.slot, or shelf.slot@interface, separated by commas</shortdesc>
	</parameter>
	<parameter name="port" unique="0" required="1" deprecated="1">
		<getopt mixed="-n, --plug=[targets]" />
		<content type="string"  />
		<shortdesc lang="en">Targets as shelf.slot, or shelf.slot@interface, separated by commas</shortdesc>
	</parameter>
	<parameter name="verbose" unique="0" required="0">
		<getopt mixed="-v, --verbose" />
		<content type="boolean"  />
		<shortdesc lang="en">Say what each target answered</shortdesc>
	</parameter>
	<parameter name="version" unique="0" required="0">
		<getopt mixed="-V, --version" />
		<content type="boolean"  />
		<shortdesc lang="en">Display version information and exit</shortdesc>
	</parameter>
	<parameter name="help" unique="0" required="0">
		<getopt mixed="-h, --help" />
		<content type="boolean"  />
		<shortdesc lang="en">Display help and exit</shortdesc>
	</parameter>
	<parameter name="delay" unique="0" required="0">
		<getopt mixed="--delay=[seconds]" />
		<content type="second" default="0"  />
		<shortdesc lang="en">Wait X seconds before fencing is started</shortdesc>
	</parameter>
	<parameter name="timeout" unique="0" required="0">
		<getopt mixed="-t, --timeout=[seconds]" />
		<content type="second" default="10"  />
		<shortdesc lang="en">Fail after X seconds</shortdesc>
	</parameter>
</parameters>
<actions>
	<action name="on" automatic="0"/>
	<action name="off" />
	<action name="status" />
	<action name="monitor" />
	<action name="list" />
	<action name="metadata" />
	<action name="validate-all" />
</actions>
</resource-agent>
"#;
