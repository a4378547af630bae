// Pictures as PNG, uncompressed: the format asks for a deflate stream, and stored blocks are one.
// (RFC 1950, RFC 1951 section 3.2.4, and the PNG specification, second edition.)
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

namespace example {

class PngWriter {
 public:
  // Eight bits each of red, green, blue and alpha, rows from the top. False: the file cannot be
  // written.
  static bool Write(const char* path, std::uint32_t width, std::uint32_t height,
                    std::span<const std::uint8_t> rgba) {
    std::string rows;
    const std::size_t stride = std::size_t{width} * 4;
    for (std::size_t row = 0; row < height; ++row) {
      rows.push_back(0);  // no filter
      for (const std::uint8_t byte : rgba.subspan(row * stride, stride)) {
        rows.push_back(static_cast<char>(byte));
      }
    }
    std::string head = Big(width) + Big(height);
    head += std::string_view("\x08\x06\0\0\0", 5);  // 8 bits, RGBA
    const std::string file = std::string("\x89PNG\r\n\x1A\n", 8) + Chunk("IHDR", head) +
                             Chunk("IDAT", Stored(rows)) + Chunk("IEND", "");
    std::FILE* const out = std::fopen(path, "wb");
    if (out == nullptr) return false;
    const bool written = std::fwrite(file.data(), 1, file.size(), out) == file.size();
    return std::fclose(out) == 0 && written;
  }

 private:
  static std::string Big(std::uint32_t value) {
    std::string text;
    for (int shift = 24; shift >= 0; shift -= 8) text.push_back(static_cast<char>(value >> shift));
    return text;
  }

  static std::string Chunk(std::string_view type, std::string_view data) {
    std::string body = std::string(type) + std::string(data);
    std::uint32_t crc = ~0U;
    for (const char c : body) {
      crc ^= static_cast<std::uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    return Big(static_cast<std::uint32_t>(data.size())) + body + Big(~crc);
  }

  static std::string Stored(std::string_view data) {
    std::string stream("\x78\x01", 2);
    std::uint32_t a = 1;
    std::uint32_t b = 0;
    for (const char c : data) {
      a = (a + static_cast<std::uint8_t>(c)) % 65521;
      b = (b + a) % 65521;
    }
    while (!data.empty()) {
      const std::string_view block = data.substr(0, 0xFFFF);
      data.remove_prefix(block.size());
      const auto length = static_cast<unsigned>(block.size());
      stream.push_back(data.empty() ? 1 : 0);
      for (const unsigned part : {length, length >> 8, ~length, ~length >> 8}) {
        stream.push_back(static_cast<char>(part));
      }
      stream += block;
    }
    return stream + Big(b << 16 | a);
  }
};

}  // namespace example
