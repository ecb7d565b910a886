"""The matcher tree of xDS and what may stand in it."""

TABLE = """
xds.type.matcher.v3.Matcher
  + matcher_list matcher_tree on_no_match

xds.type.matcher.v3.Matcher.OnMatch
  + matcher action keep_matching

xds.type.matcher.v3.Matcher.MatcherList
  + matchers

xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher
  + predicate on_match

xds.type.matcher.v3.Matcher.MatcherList.Predicate
  + single_predicate or_matcher and_matcher not_matcher

xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate
  + input value_match custom_match

xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList
  + predicate

xds.type.matcher.v3.Matcher.MatcherTree
  + input exact_match_map prefix_match_map custom_match

xds.type.matcher.v3.Matcher.MatcherTree.MatchMap
  + map

xds.type.matcher.v3.StringMatcher
  + exact prefix suffix safe_regex contains ignore_case
  - custom

xds.type.matcher.v3.RegexMatcher
  + google_re2 regex

xds.type.matcher.v3.RegexMatcher.GoogleRE2

xds.type.matcher.v3.IPMatcher
  + range_matchers

xds.type.matcher.v3.IPMatcher.IPRangeMatcher
  + ranges on_match exclusive

xds.type.matcher.v3.ServerNameMatcher
  + domain_matchers

xds.type.matcher.v3.ServerNameMatcher.DomainMatcher
  + domains on_match

xds.core.v3.TypedExtensionConfig
  + name typed_config

envoy.extensions.matching.common_inputs.network.v3.SourceIPInput

envoy.extensions.matching.common_inputs.network.v3.SourcePortInput

envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput

envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput

envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput

envoy.extensions.matching.common_inputs.network.v3.ServerNameInput

envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput

envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput

envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput

envoy.extensions.matching.common_inputs.network.v3.NetworkNamespaceInput

envoy.extensions.matching.common_inputs.network.v3.FilterStateInput
  + key

envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput
  + filter path

envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput.PathSegment
  + key

envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput

envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput

envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput

envoy.type.matcher.v3.HttpRequestHeaderMatchInput
  + header_name

envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing
  + threshold modulo seed

envoy.extensions.matching.input_matchers.ip.v3.Ip
  + cidr_ranges
  ~ inputs that are no addresses are not counted: stat_prefix

envoy.extensions.matching.input_matchers.metadata.v3.Metadata
  + value invert
"""
