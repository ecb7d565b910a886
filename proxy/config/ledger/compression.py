"""The compressor and decompressor filters and their libraries."""

TABLE = """
envoy.extensions.filters.http.compressor.v3.Compressor
  + content_length content_type disable_on_etag_header remove_accept_encoding_header runtime_enabled
  + compressor_library request_direction_config response_direction_config choose_first

envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig
  + enabled min_content_length content_type

envoy.extensions.filters.http.compressor.v3.Compressor.RequestDirectionConfig
  + common_config

envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig
  + common_config disable_on_etag_header remove_accept_encoding_header uncompressible_response_codes
  + status_header_enabled

envoy.extensions.filters.http.compressor.v3.CompressorPerRoute
  + disabled overrides

envoy.extensions.filters.http.compressor.v3.CompressorOverrides
  + response_direction_config compressor_library

envoy.extensions.filters.http.compressor.v3.ResponseDirectionOverrides
  + remove_accept_encoding_header

envoy.extensions.filters.http.decompressor.v3.Decompressor
  + decompressor_library request_direction_config response_direction_config

envoy.extensions.filters.http.decompressor.v3.Decompressor.CommonDirectionConfig
  + enabled ignore_no_transform_header

envoy.extensions.filters.http.decompressor.v3.Decompressor.RequestDirectionConfig
  + common_config advertise_accept_encoding

envoy.extensions.filters.http.decompressor.v3.Decompressor.ResponseDirectionConfig
  + common_config

envoy.extensions.compression.gzip.compressor.v3.Gzip
  + memory_level compression_level compression_strategy window_bits
  ~ zlib's output is taken as it comes: chunk_size

envoy.extensions.compression.gzip.decompressor.v3.Gzip
  + window_bits chunk_size max_inflate_ratio

envoy.extensions.compression.brotli.compressor.v3.Brotli
  + quality encoder_mode window_bits input_block_bits
  ~ the library's output is taken as it comes: chunk_size
  ~ Python's binding always models literals: disable_literal_context_modeling

envoy.extensions.compression.brotli.decompressor.v3.Brotli
  + chunk_size
  ~ Python's binding leaves memory to the library: disable_ring_buffer_reallocation

envoy.extensions.compression.zstd.compressor.v3.Zstd
  + compression_level enable_checksum strategy dictionary
  ~ the library's output is taken as it comes: chunk_size

envoy.extensions.compression.zstd.decompressor.v3.Zstd
  + dictionaries chunk_size
"""
