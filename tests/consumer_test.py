"""An install tree serves a project that knows only find_package(mete)."""

import os
import pathlib
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["METE_BUILD"])
SOURCE = pathlib.Path(os.environ["METE_SOURCE"])


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


class ConsumerTest(unittest.TestCase):
    def use_from(self, prefix, folder):
        run("cmake", "-G", "Ninja", "-S", SOURCE / "tests" / "consumer", "-B", folder / "consumer",
            f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", folder / "consumer")
        self.assertEqual(run(folder / "consumer" / "consumer"), "process uses 58 of 64 MiB\n")
        frames = folder / "consumer" / "frame_consumer"
        self.assertEqual(run(frames), "10 frames, 0 by the heap\n")
        names = [line.split()[-1] for line in run("nm", frames).splitlines()]
        self.assertTrue(any("HostBudgetManager" in name for name in names))
        self.assertFalse([name for name in names if name.lower().startswith("vk")])

    def test_the_whole_of_mete(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            run("cmake", "--install", BUILD, "--prefix", folder / "prefix")
            self.use_from(folder / "prefix", folder)
            device = folder / "consumer" / "device_consumer"
            if any((folder / "prefix").rglob("mete-vulkan-targets.cmake")):
                self.assertEqual(run(device), "E2071: device: instance, physical and device must "
                                              "all be given\n")
            version = run(folder / "prefix" / "bin" / "mete", "version")
            self.assertRegex(version, r"^mete \d+\.\d+\.\d+\n")

    def test_the_libraries_alone_need_nothing_but_a_compiler(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            run("cmake", "-G", "Ninja", "-S", SOURCE, "-B", folder / "build", "-DMETE_TOOLS=OFF",
                "-DMETE_VULKAN=OFF", "-DMETE_PYTHON=OFF",
                f"-DCMAKE_INSTALL_PREFIX={folder / 'prefix'}",
                "-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_simdjson=ON",
                "-DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON")
            run("cmake", "--build", folder / "build", "--target", "install")
            self.assertFalse((folder / "prefix" / "bin").exists())
            self.use_from(folder / "prefix", folder)


if __name__ == "__main__":
    unittest.main()
