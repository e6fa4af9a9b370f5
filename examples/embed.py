"""The gateway inside a program: an alias, a fallback, hooks, a stream and a capability. Needs no key and no network.

Run it with `python examples/embed.py`.
"""

from __future__ import annotations

import asyncio

from hooks import CachedEmbedding, add_metadata, add_system_message, redact

from gateway import Provider


async def main() -> None:
    """Ask a model that does not exist, and get the answer of the one behind it."""
    provider = Provider()

    # The alias `assistant`: the first target answers 404 to everything, the second repeats what it is told.
    provider.add_model_mapping("assistant", "mock/status-404")
    provider.add_model_fallback("assistant", ["mock/echo"])
    provider.add_pre_process_hook(redact)
    provider.add_pre_process_hook(add_system_message)
    provider.add_post_process_hook(add_metadata)
    provider.register_capability("cached_embedding", CachedEmbedding())

    print("assistant starts at:", provider.map_model_name("assistant"))

    question = "Write to ann@example.com, please."
    response = await provider.complete_chat(model="assistant", messages=[{"role": "user", "content": question}])
    print("the fallback answers:", response["choices"][0]["message"]["content"])
    print("a post hook noted:", response["metadata"])

    print("as a stream:", end=" ")
    async for chunk in provider.stream_chat(model="assistant", messages=[{"role": "user", "content": "one two three"}]):
        for choice in chunk["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
    print()

    for _ in range(2):
        vector = await provider.cached_embedding.get_embedding("some text")
    print(f"an embedding: {len(vector)} numbers, {provider.cached_embedding.hits} from the cache")

    await provider.close()


if __name__ == "__main__":
    asyncio.run(main())
