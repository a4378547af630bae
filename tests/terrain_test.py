"""examples/terrain on a device of the CPU, with validation on: its picture and its budgets."""

import os
import pathlib
import re
import struct
import subprocess
import tempfile
import unittest
import zlib

BUILD = pathlib.Path(os.environ["METE_BUILD"])


def cached(name):
    """What CMake has found."""
    text = (BUILD / "CMakeCache.txt").read_text()
    return re.search(rf"^{name}:\w+=(.*)$", text, re.MULTILINE).group(1)


def read_png(data):
    """Width, height and RGBA bytes; checks every checksum of the file."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG file")
    at, stream, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        (crc,) = struct.unpack(">I", data[at + 8 + length:at + 12 + length])
        if zlib.crc32(kind + body) != crc:
            raise ValueError(f"the checksum of {kind} is wrong")
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            stream += body
        at += 12 + length
    width, height = size
    rows = zlib.decompress(stream)
    stride = width * 4 + 1
    return width, height, b"".join(rows[row * stride + 1:(row + 1) * stride]
                                   for row in range(height))


class TerrainTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            picture = pathlib.Path(folder) / "terrain.png"
            driver = cached("METE_LAVAPIPE")
            environment = {**os.environ, "VK_DRIVER_FILES": driver, "VK_ICD_FILENAMES": driver,
                           "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation"}
            cls.done = subprocess.run([BUILD / "examples" / "terrain", "61", picture],
                                      capture_output=True, text=True, timeout=100,
                                      env=environment)
            cls.picture = read_png(picture.read_bytes()) if picture.exists() else None

    def test_ends_well_and_validation_is_silent(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertNotIn("alidation", self.done.stdout + self.done.stderr)

    def test_draws_a_landscape(self):
        width, height, rgba = self.picture
        self.assertEqual((width, height), (512, 512))
        pixels = [rgba[at:at + 4] for at in range(0, len(rgba), 4)]
        self.assertTrue(all(pixel[3] == 255 for pixel in pixels))
        share = len(pixels) / 100
        water = sum(pixel[2] > 2 * pixel[0] and pixel[2] > pixel[1] for pixel in pixels)
        grass = sum(pixel[1] > pixel[0] and pixel[1] > pixel[2] for pixel in pixels)
        snow = sum(min(pixel[:3]) > 180 for pixel in pixels)
        self.assertGreater(water, 10 * share)
        self.assertGreater(grass, 10 * share)
        self.assertGreater(snow, share / 10)

    def test_shows_its_budgets_while_it_runs(self):
        for frame in (0, 60, 61):
            self.assertIn(f"--- frame {frame}\n", self.done.stdout)
        self.assertRegex(self.done.stdout, r"heap 0 +\d")
        self.assertIn("device_peak=", self.done.stdout.splitlines()[-1])

    def test_staging_uses_its_quota_and_no_more(self):
        staging = re.findall(r"staging: (\d+) of (\d+) bytes, peak (\d+); waited (\d+)",
                             self.done.stdout)
        # Whether anything waited depends on who is faster, and is not looked at.
        for charged, quota, peak, _ in staging:
            self.assertLessEqual(int(charged), int(quota))
            self.assertEqual(int(peak), int(quota))


if __name__ == "__main__":
    unittest.main()
