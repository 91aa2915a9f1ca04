"""The command `plan` as other programs see it: its JSON, its text, its exit statuses; for machines that are not here, so without Vulkan."""
import collections
import json
import os
import tempfile
import unittest

import cli

MODEL = cli.data("t-v3.f16.gguf")


def machine(name):
    return cli.data(os.path.join("machines", name + ".json"))


class Plan(cli.Case):
    def plan(self, *args):
        return self.good("plan", "-m", MODEL, "--json", "--machine", machine("8+64-host"), *args).json()

    def check(self, plan):
        """What the document promises: places inside their heaps, one for each matrix, sums that agree."""
        heaps = {(d["id"], i): h for d in plan["devices"] for i, h in enumerate(d["heaps"])}
        used, ends = collections.Counter(), {}
        lists = plan["items"] + plan["kv"]["items"] + plan["scratch"]["items"]
        for item in sorted(lists, key=lambda item: (item["buffer"], item["offset"])):
            self.assertIn((item["device"], item["heap"]), heaps)
            self.assertGreaterEqual(item["offset"], ends.get(item["buffer"], 0))
            ends[item["buffer"]] = item["offset"] + item["bytes"]
            used[item["device"], item["heap"]] += item["bytes"]
        for key, heap in heaps.items():
            self.assertEqual(used[key], heap["planned"], key)
            if plan["fits"]:
                self.assertLessEqual(heap["planned"], heap["budget"], key)
        self.assertEqual(plan["kv"]["bytes"], sum(item["bytes"] for item in plan["kv"]["items"]))
        self.assertEqual(plan["scratch"]["bytes"], sum(item["bytes"] for item in plan["scratch"]["items"]))
        places = collections.Counter((i["tensor"], i.get("part"), i.get("expert")) for i in plan["items"])
        self.assertEqual(set(places.values()), {1})
        return used

    def test_document(self):
        plan = self.plan()
        self.check(plan)
        self.assertEqual([d["id"] for d in plan["devices"]], ["vk0", "host"])
        self.assertIs(plan["fits"], True)
        self.assertEqual(plan["why"], "")
        self.assertGreater(plan["predicted"]["decode_tok_s"], 0)
        self.assertGreater(plan["predicted"]["prefill_tok_s"], 0)
        header = self.good("inspect", MODEL, "--json").json()
        ahead = "blk.%d." % header["model"]["n_layers"]  # layers that predict further ahead are not run
        wanted = {t["name"] for t in header["tensors"] if not t["name"].startswith(ahead)}
        self.assertEqual({item["tensor"] for item in plan["items"]}, wanted)
        experts = [item for item in plan["items"] if "expert" in item]
        self.assertEqual({item["expert"] for item in experts}, set(range(header["model"]["n_experts"])))
        self.assertEqual({item["tier"] for item in plan["items"]}, {"device-local"})

    def test_budget(self):
        whole = self.check(self.plan())["vk0", 0]
        budget = whole - 100000
        plan = self.plan("--budget", "vk0:0=%d" % budget, "--budget", "vk0:2=0")
        used = self.check(plan)
        self.assertLessEqual(used["vk0", 0], budget)
        self.assertEqual(next(d for d in plan["devices"] if d["id"] == "vk0")["heaps"][0]["budget"], budget)
        away = [item for item in plan["items"] if item["device"] == "host"]
        self.assertTrue(away)
        self.assertEqual({item["tier"] for item in away}, {"host-visible"})
        self.assertEqual({item["reader"] for item in away}, {"vk0"})

    def test_layers(self):
        layers = lambda plan: {i["layer"] for i in plan["items"] if i["device"] == "host"}
        self.assertEqual(layers(self.plan("-ngl", "99")), set())
        self.assertEqual(layers(self.plan("-ngl", "1")), set(range(self.good("inspect", MODEL, "--json").json()["model"]["n_layers"] - 1)))
        plan = self.plan("-ncmoe", "2")
        self.check(plan)
        self.assertEqual({"expert" in i for i in plan["items"] if i["device"] == "host"}, {True})
        self.assertEqual(layers(plan), {1})

    def test_does_not_fit(self):
        tight = ["plan", "-m", MODEL, "--machine", machine("8+64-host"), "--budget", "vk0:0=100K", "--budget", "vk0:2=0",
                 "--budget", "host:0=1M"]
        result = cli.call(*tight, "--json")
        self.assertEqual(result.code, 1)
        plan = result.json()
        self.check(plan)
        self.assertIs(plan["fits"], False)
        self.assertIn("It would fit with", plan["why"])
        self.assertEqual(len(result.err.splitlines()), 1)
        result = cli.call(*tight)
        self.assertEqual(result.code, 1)
        self.assertIn("does not fit", result.out.decode())

    def test_text(self):
        text = self.good("plan", "-m", MODEL, "--machine", machine("24+8-two-vendors"), "-dev", "vk1,vk0", "-ts", "1,1").out.decode()
        for words in ("Radeon RX 7900 XTX", "GeForce RTX 3070", "heap 0  [#", "experts", "cache", "predicted: "):
            self.assertIn(words, text)

    def test_shared_experts(self):
        two = ["--machine", machine("24+8-two-vendors"), "-dev", "vk0,vk1", "-sm", "expert"]
        plan = self.plan(*two, "-ts", "3,1")
        self.check(plan)
        first, second = plan["devices"][:2]
        self.assertEqual((first["layers"][0], second["layers"][1]), (0, first["layers"][1]))
        self.assertEqual((first["experts"], second["experts"]), ([0, 9], [9, 12]))
        for item in plan["items"]:
            self.assertEqual(item["device"], "vk1" if item.get("expert", 0) >= 9 else "vk0")
        text = self.good("plan", "-m", MODEL, *two, "-ts", "0,1").out.decode()
        self.assertIn("without experts", text)
        self.assertIn("experts 0 to 11 of layers 1 to", text)

    def test_wrong(self):
        args = ["plan", "-m", MODEL, "--machine", machine("8+64-host")]
        for budget in ("vk0=1", "vk0:0", "vk0:0=x", "vk0:0=1Q", ":0=1", "vk0:0=-1"):
            self.bad(2, budget, *args, "--budget", budget)
        self.bad(2, "heap 5", *args, "--budget", "vk0:5=1G")
        self.bad(2, "vk9", *args, "-dev", "vk9")
        self.bad(2, "3,,1", *args, "-dev", "vk0", "-ts", "3,,1")
        self.bad(2, "2 shares", *args, "-dev", "vk0", "-ts", "3,1")
        self.bad(2, "neither layer nor expert", *args, "-sm", "row")
        self.bad(2, "16 weights of experts, the model has 24", *args, "--profile", cli.data("small.trace"))
        self.bad(1, "not a routing trace", *args, "--profile", MODEL)
        self.bad(1, "nowhere.json", "plan", "-m", MODEL, "--machine", "nowhere.json")
        for text in ("{}", "[]", "[1]", '[{"id": "vk0", "kind": "discrete", "heaps": []}]', "["):
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(text)
                file.flush()
                self.bad(1, file.name, "plan", "-m", MODEL, "--machine", file.name)

    def test_least_machine(self):
        """Kind and heaps alone describe a device."""
        heaps = [{"bytes": 8 << 30, "device_local": True}, {"bytes": 16 << 30, "host_visible": True}]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([{"id": "vk0", "kind": "discrete", "heaps": heaps}], file)
            file.flush()
            plan = self.good("plan", "-m", MODEL, "--json", "--machine", file.name).json()
        self.check(plan)
        self.assertIs(plan["fits"], True)



cli.main()
